"""Plans: which jobs a study needs, and what each depends on. Standard library only."""
