def recognises(source): return False
def load(source, **options): raise NotImplementedError
