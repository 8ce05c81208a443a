"""The questions of the notebooks: what each computes, draws and concludes."""
