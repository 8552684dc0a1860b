"""Helpers shared by the black-box tests: everything here talks to the agent as its users do, through files and signals."""
