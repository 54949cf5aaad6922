"""From scans to batches: samplesheet, pairing, training store, patches, augmentation."""
