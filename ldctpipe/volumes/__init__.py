"""CT volumes in HU: the `Volume`, its windows, and its forms on disk (NIfTI, case folder). Knows no torch."""
