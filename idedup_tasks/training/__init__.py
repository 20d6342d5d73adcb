"""Training, calibration and registration of descriptors."""
