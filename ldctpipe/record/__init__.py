"""What a run leaves about itself: its record, checksums, an RO-Crate; and whether all of it still holds."""
