"""An agent whose refunds wait for a person, with the page on which one decides."""
