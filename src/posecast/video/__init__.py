"""Video files in and out; footage of one's own to a data set; a photo driven by anybody's motion."""
