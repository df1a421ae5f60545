"""Money in and out: payments and refunds, and what else settles invoices."""
