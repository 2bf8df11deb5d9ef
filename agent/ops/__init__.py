"""What operators see: health, metrics, the watchdog, the audit log."""
