"""How models of images are taught: teachers, students in one step, and the judge that measures both."""
