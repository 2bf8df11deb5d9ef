"""The way to the MQTT broker that agent, collector and dashboard share."""
