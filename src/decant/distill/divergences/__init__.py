"""How far the student's law is from the teacher's: (p_logp_XV, q_logp_XV) -> nats_X."""
