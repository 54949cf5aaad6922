"""Low-dose CT denoising, from raw DICOM to a trained denoiser, denoised DICOM and a report."""

__version__ = "0.1.0"
