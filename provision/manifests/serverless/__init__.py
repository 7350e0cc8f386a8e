"""Services as functions in the cloud: what AWS Lambda and Google Cloud Functions share, and each of them."""
