"""The one MQTT connection, which agent, collector and dashboard share."""
