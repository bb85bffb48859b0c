"""The synthetic dancer: choreography, body, pictures, and a data set of them."""
