"""Recordings, pose maps, the folder layout, its cache, augmentation and clips."""
