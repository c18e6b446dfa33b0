"""Regions: where in a picture something is, from a classifier's feature map or from a segmentation model."""
