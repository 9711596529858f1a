"""What drafters and policies share: templates, trees that grow, tries of guesses, rows that ride along."""
