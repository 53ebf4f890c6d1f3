"""What is remembered: jobs, attempts, disclosures, the types of personal data, and their seals."""
