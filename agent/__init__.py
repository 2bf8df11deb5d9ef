"""What runs beside the microscope; `pipeline.py` is the file to read first."""
