"""What stays on the device: the data folder, the device key, and the cache of fitted privatizers."""
