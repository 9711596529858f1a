"""`decant serve`: the OpenAI API over a target with a method in place; needs the extra [serve]."""
