answer = 42
print(f"hello from Python: {answer}")
