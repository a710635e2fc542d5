module example.invalid/nested
