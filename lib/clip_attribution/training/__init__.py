"""Training: the embedded model's contrastive pre-training and its model card."""
