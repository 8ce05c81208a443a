"""Does training on the attribution give relation and attribute words their weight?"""
