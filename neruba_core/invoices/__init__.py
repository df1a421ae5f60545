"""Invoices: views over the ledger that explain themselves."""
