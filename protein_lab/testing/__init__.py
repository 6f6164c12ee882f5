"""Small, exactly known objects to test with."""
