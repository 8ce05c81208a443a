"""How many layers, and which signs, find the false word of a caption?"""
