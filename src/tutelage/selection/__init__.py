"""Which version stays?"""
