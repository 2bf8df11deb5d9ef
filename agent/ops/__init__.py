"""What operators see: health, metrics, log lines, the watchdog, the audit log."""
