"""What the YOLO families share: blocks, heads, decoding, file formats."""
