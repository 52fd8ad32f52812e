  FROM   alpine  
	RUN	a  &&   b	
  # indented comment
ENV   A=1    B=2
