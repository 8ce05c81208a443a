"""Do relation and attribute words get less attribution than objects?"""
