"""Reports: counts of the scene, and losses."""
