"""How much of a heat map lies where it should?"""
