"""One test for each classic silent bug, named by its id, and beside it the mutant that it must kill."""
