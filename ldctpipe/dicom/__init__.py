"""DICOM CT series: discovery, reading to HU, derived series, UIDs. Knows no torch."""
