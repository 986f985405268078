"""The learner's side: calling an answer under limits. Nothing here may import the judges or the solutions."""
