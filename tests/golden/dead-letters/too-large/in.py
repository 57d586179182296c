# SPDX-License-Identifier: Apache-2.0
"""in.py - three events, the second larger than an event may be."""
EVENT = ('{"order_id": "o%d", "created_at": "2024-05-01T10:00:0%dZ", "customer_id": "anna", "amount": 12.5, '
         '"note": "%s"}')
print(EVENT % (1, 1, ""))
print(EVENT % (2, 2, "x" * (1 << 20)))
print(EVENT % (3, 3, ""))
