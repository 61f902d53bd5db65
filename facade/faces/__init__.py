"""Pure outbound and inbound translation of the faces: chunks to a face's JSON, and back."""
