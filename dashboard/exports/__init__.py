"""What goes out of the dashboard: tables, FHIR bundles and printed reports, made of values and of nothing else."""
