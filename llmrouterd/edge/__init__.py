"""SOCKETS. The only room that knows h11, and the only one that opens a connection.

Inward: listen -> connection -> (incoming, client), watched by hangup. Outward: pool -> dial ->
exchange, bounded by deadline. Below both: wire (bytes), rawhead and framing (what h11 forgives),
coding (gzip, deflate).
"""
