"""What does a model know of composition, benchmark by benchmark?"""
