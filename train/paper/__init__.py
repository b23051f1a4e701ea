"""The paper's tables: their recipes, the jobs that train them, and the figures beside the paper's."""
