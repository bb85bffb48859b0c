"""Video files, extraction of data sets from footage, and videos generated from a photo and poses."""
