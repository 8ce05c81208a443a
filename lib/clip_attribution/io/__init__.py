"""Files in and out: tables, images, and results that are kept chunk by chunk."""
