"""Extra links of operators and sensors."""
