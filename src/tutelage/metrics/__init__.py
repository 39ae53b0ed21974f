"""How much does this version suit the student?"""
