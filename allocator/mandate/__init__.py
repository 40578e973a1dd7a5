"""What we want: objective, ambiguity set, rules and costs."""
