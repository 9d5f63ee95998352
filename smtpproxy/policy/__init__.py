"""The configured model as frozen values, and pure functions from facts to decisions."""
